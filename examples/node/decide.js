// What an edge does with mail of a server by its verdict, at any moment (UTC milliseconds).
import { createHash } from 'node:crypto'

export function decide(key, verdict, at) {
  let now = verdict
  let next = null
  for (const stage of verdict.schedule) {
    // The stages to come are in the verdict: they begin without another one.
    if (stage.starts_at <= at) {
      now = stage
    } else if (stage.stage > now.stage || stage.throttle_minutes_per_hour || stage.block_minutes_per_hour) {
      next = stage.starts_at
      break
    }
  }
  const isPaused = verdict.paused_until !== null && at < verdict.paused_until
  const throttle = isPaused ? 0 : now.throttle_minutes_per_hour
  const block = isPaused ? 0 : now.block_minutes_per_hour
  // The minutes of a server begin at a minute of its own, so that not all servers share one.
  const offset = Number(createHash('sha256').update(key).digest().readBigUInt64BE() % 60n)
  const minute = ((Math.floor(at / 60_000) % 60) - offset + 60) % 60
  if (minute < block) {
    return { action: 'BLOCK', reply: reply('550 5.7.230 ', verdict.smtp_template_block, 'blocked', block, next) }
  }
  if (minute < block + throttle) {
    return { action: 'THROTTLE', reply: reply('450 4.7.230 ', verdict.smtp_template_throttle, 'throttled', throttle, next) }
  }
  return { action: 'ACCEPT', reply: null }
}

// One line that SMTP can carry, whatever the verdict's template has in it.
function reply(code, template, verb, minutes, next) {
  let text = template ?? ''
  if (!text.startsWith(code) || !text.slice(code.length).trim()) {
    text = `${code}Connecting Exchange server version is out-of-date; connection ${verb} for {minutes} mins/hr.`
  }
  const date = next === null ? '' : ` Next stage ${new Date(next).toISOString()}.`
  text = text.replaceAll('{minutes}', () => minutes).replaceAll('{next}', () => date)
  return text.replace(/[^ -~]/gu, '?').slice(0, 510).trimEnd()
}
