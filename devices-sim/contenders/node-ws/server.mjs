// The WebSocket contender in Node.js: ws, and the NATS client of the NATS authors.
import { createServer } from 'node:http'
import { connect } from 'nats'
import { WebSocketServer } from 'ws'

const clientPath = /^\/ws\/([A-Za-z0-9_-]{1,128})$/

const nats = await connect({ servers: process.env.BENCH_NATS, maxReconnectAttempts: -1 })

// The client writes to its socket after every callback that published something; collected until the end of the event
// loop's turn, all devices that were readable share one write.
let turn = []
function publish (subject, data) {
  if (turn.push(subject, data) === 2) setImmediate(publishTurn)
}
function publishTurn () {
  const messages = turn
  turn = []
  for (let i = 0; i < messages.length; i += 2) nats.publish(messages[i], messages[i + 1])
}

const wss = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false, // ws: off, for its memory and CPU
  clientTracking: false,
  maxPayload: 64 * 1024
})

const server = createServer((request, response) => response.writeHead(404).end())
server.on('upgrade', (request, socket, head) => {
  const path = clientPath.exec(request.url)
  if (path === null) return socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n')
  const subject = `devices.${path[1]}.up`
  wss.handleUpgrade(request, socket, head, (ws) => {
    ws.on('error', () => {}) // ws closes by itself
    ws.on('message', (data, binary) => {
      ws.send(data, { binary })
      publish(subject, data)
    })
  })
})
server.listen({ port: process.env.BENCH_PORT, host: '127.0.0.1', backlog: 4096 }, () => console.log('ready'))
process.on('SIGTERM', () => process.exit(0))
