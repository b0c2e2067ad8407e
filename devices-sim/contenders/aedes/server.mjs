// The aedes broker on a plain TCP server, all in memory.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

const broker = await Aedes.createBroker({
  concurrency: 1000, // messages delivered at a time before the others wait
  maxInflightInbound: 65535,
  maxClientsIdLength: 128,
  drainTimeout: 60000
})
const server = createServer({ noDelay: true }, broker.handle)
server.listen({ port: process.env.BENCH_PORT, host: '127.0.0.1', backlog: 4096 }, () => console.log('ready'))
process.on('SIGTERM', () => process.exit(0))
