-- Asks the edge's HTTP door: /opt/kumomta/etc/policy/tes.lua. In init.lua, outside of every event: require 'tes'
-- With no answer in two seconds, or another one than expected, mail is accepted. Needs KumoMTA 2025.12.02 or newer.
-- NOT TESTED: written after KumoMTA's documents.
local kumo = require 'kumo'

local door = 'http://127.0.0.1:8025'

local function client_of(conn_meta)
  -- 192.0.2.1:34567 or [2001:db8::1]:34567
  local address = conn_meta:get_meta('received_from'):gsub(':%d+$', ''):gsub('[%[%]]', '')
  local client = {
    source_ip = address,
    helo = conn_meta:get_meta 'ehlo_domain' or '',
  }
  -- Only where the listener has `tls_required_client_ca`.
  local subject = conn_meta:get_meta 'tls_peer_subject_name'
  client.tls_subject = subject and subject:match 'CN=([^,]+)'
  return client
end

local function ask(path, question)
  local client = kumo.http.build_client { timeout = '2 seconds' }
  local request = client:post(door .. path)
  request:header('Content-Type', 'application/json')
  request:body(question)
  local response = request:send()
  assert(response:status_is_success(), response:status_reason())
  return kumo.serde.json_parse(response:text())
end

-- Errors within stay within; only the rejection leaves the event.
local function decide(path, make_question, message)
  local is_answered, answer = pcall(function()
    return ask(path, make_question())
  end)
  if not is_answered then
    kumo.log_error('tes: ' .. tostring(answer))
    return
  end
  if type(answer.reply) == 'string' then
    local code, text = answer.reply:match '^([45]50) ([45]%.7%.230 .+)$'
    if code then
      kumo.reject(tonumber(code), text)
    end
  elseif message and type(answer.header) == 'string' then
    message:prepend_header('X-TES', answer.header)
  end
end

-- Whether the client was refused a moment ago.
kumo.on('smtp_server_mail_from', function(_, conn_meta)
  decide('/v1/decide-mail', function()
    return kumo.serde.json_encode(client_of(conn_meta))
  end)
end)

-- After the final dot: the Received fields decide. KumoMTA's own is not there yet.
kumo.on('smtp_server_data', function(message, conn_meta)
  decide('/v1/decide', function()
    local question = client_of(conn_meta)
    question.message_id = message:get_first_named_header_value 'Message-ID'
    question.recipients = #message:recipient_list()
    question.queue_id = tostring(message:id())
    local received = message:get_all_named_header_values 'Received'
    -- An empty table could be written as an object.
    local lines = #received > 0 and kumo.serde.json_encode(received) or '[]'
    return kumo.serde.json_encode(question):sub(1, -2) .. ',"received":' .. lines .. '}'
  end, message)
end)
