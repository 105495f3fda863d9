-- Asks the edge's HTTP door about each message: /etc/rspamd/tes.lua, called by rspamd.local.lua.
-- With no answer in two seconds, or another one than expected, the message passes.
local rspamd_http = require "rspamd_http"
local rspamd_logger = require "rspamd_logger"
local rspamd_util = require "rspamd_util"
local ucl = require "ucl"

-- Another place is named by `tes_edge { url = "…"; }` in rspamd.conf.local.
local url = (rspamd_config:get_all_opt('tes_edge') or {}).url or 'http://127.0.0.1:8025/v1/decide'
local actions = { defer = 'soft reject', reject = 'reject' }
local most_lines = 1000

-- What a client sent may be anything; JSON is UTF-8.
local function as_text(bytes)
  bytes = tostring(bytes or '')
  return rspamd_util.is_valid_utf8(bytes) and bytes or (bytes:gsub('[\128-\255]', '?'))
end

local function question(task)
  local lines = {}
  for place, header in ipairs(task:get_header_full('Received') or {}) do
    if place > most_lines then break end
    lines[place] = as_text(header.value)
  end
  -- An empty table would be written as an object.
  local received = #lines > 0 and ucl.to_format(lines, 'json-compact') or '[]'
  local client = ucl.to_format({
    source_ip = tostring(task:get_ip()),
    helo = as_text(task:get_helo()),
    message_id = as_text(task:get_message_id()),
    recipients = #(task:get_recipients('smtp') or {}),
    queue_id = as_text(task:get_queue_id()),
  }, 'json-compact')
  return client:sub(1, -2) .. ',"received":' .. received .. '}'
end

local function answer(task, body)
  local parser = ucl.parser()
  local is_read, problem = parser:parse_string(body)
  if not is_read then
    rspamd_logger.errx(task, 'tes: no JSON from %s: %s', url, problem)
    return
  end
  local said = parser:get_object()
  local action = actions[said.action]
  if action and type(said.reply) == 'string' then
    -- A milter's reply is a format.
    local message = task:has_flag('milter') and said.reply:gsub('%%', '%%%%') or said.reply
    task:set_pre_result(action, message, 'tes')
  elseif type(said.header) == 'string' then
    task:set_milter_reply({ add_headers = { ['X-TES'] = said.header } })
  end
end

local function ask(task)
  local ip = task:get_ip()
  if not ip or not ip:is_valid() then return end
  rspamd_http.request({
    task = task,
    url = url,
    body = question(task),
    mime_type = 'application/json',
    timeout = 2.0,
    callback = function(problem, code, body)
      if problem or code ~= 200 then
        rspamd_logger.errx(task, 'tes: no answer from %s: %s', url, problem or code)
        return
      end
      answer(task, tostring(body))
    end,
  })
end

rspamd_config:register_symbol({ name = 'TES', type = 'prefilter', priority = 10, callback = ask })
