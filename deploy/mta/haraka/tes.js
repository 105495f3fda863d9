'use strict'
// Asks the edge's HTTP door: save it as plugins/tes.js, and add the line `tes` to config/plugins.
// With no answer in two seconds, or another one than expected, mail is accepted.

const http = require('node:http')
const DSN = require('haraka-dsn')

const door = { host: '127.0.0.1', port: 8025, method: 'POST' }
const WAIT_MS = 2000

exports.register = function () {
  this.register_hook('mail', 'tes_mail')
  this.register_hook('data_post', 'tes_data')
}

// Whether the client was refused a moment ago.
exports.tes_mail = function (next, connection) {
  this.tes_ask(next, connection, '/v1/decide-mail', client_of(connection))
}

// After the final dot: the Received fields decide.
exports.tes_data = function (next, connection) {
  const transaction = connection?.transaction
  if (!transaction) return next()
  this.tes_ask(next, connection, '/v1/decide', {
    ...client_of(connection),
    // The first field is Haraka's own.
    received: transaction.header.get_all('Received').slice(1),
    message_id: transaction.header.get('Message-Id').trim(),
    recipients: transaction.rcpt_to.length,
    queue_id: transaction.uuid,
  })
}

function client_of(connection) {
  const client = { source_ip: connection.remote.ip, helo: connection.hello?.host ?? '' }
  const tls = connection.notes.tls
  const certificate = tls?.peerCertificate
  if (certificate?.fingerprint256) client.tls_fingerprint = certificate.fingerprint256
  if (tls?.verified && certificate?.subject?.CN) client.tls_subject = String(certificate.subject.CN)
  return client
}

exports.tes_ask = function (next, connection, path, question) {
  let is_over = false
  const end = (problem, answer) => {
    if (is_over) return
    is_over = true
    clearTimeout(timer)
    if (problem) connection.logerror(this, `no answer: ${problem}`)
    const found = /^(450|550) ([45])\.7\.230 ([ -~]+)$/.exec(answer?.reply ?? '')
    if (found) {
      const dsn = DSN.create(Number(found[1]), found[3], 7, 230)
      return next(found[2] === '4' ? DENYSOFT : DENY, dsn)
    }
    if (answer?.header) connection.transaction?.add_header('X-TES', answer.header)
    next()
  }
  const timer = setTimeout(() => {
    end('it took too long')
    request.destroy()
  }, WAIT_MS)
  const body = JSON.stringify(question)
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) }
  const request = http.request({ ...door, path, headers }, (response) => {
    const parts = []
    response.on('data', (part) => parts.push(part))
    response.on('error', end)
    response.on('end', () => {
      if (response.statusCode !== 200) return end(`status ${response.statusCode}`)
      try {
        end(null, JSON.parse(Buffer.concat(parts)))
      } catch (error) {
        end(error)
      }
    })
  })
  request.on('error', end)
  request.end(body)
}
