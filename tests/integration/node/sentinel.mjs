// Writes through node-redis' Sentinel support until a second server has taken writes.
//
//   node sentinel.mjs KEY SENTINEL-PORT...
//
// Prints "at PORT" whenever writes go to another server than before. Exit 0: two servers have taken writes, the second 50;
// 1: not within 90 seconds.
import { createSentinel } from "redis";

const [key, ...ports] = process.argv.slice(2);
const client = createSentinel({
    name: "mymaster",
    sentinelRootNodes: ports.map((port) => ({ host: "127.0.0.1", port: Number(port) })),
    nodeClientOptions: { commandOptions: { timeout: 1000 } },
});
client.on("error", () => {});
await client.connect();

const end = Date.now() + 90000;
const taken = new Map();
let at, n = 0;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
while (Date.now() < end) {
    let port;
    try {
        await client.sendCommand(false, ["VADD", key, "VALUES", "2", "1", String(n), `e${n++}`]);
        const info = await client.sendCommand(false, ["INFO", "server"]);
        port = Number(/tcp_port:(\d+)/.exec(info)[1]);
    } catch {
        await pause(50);
        continue;
    }
    taken.set(port, (taken.get(port) ?? 0) + 1);
    if (port !== at) {
        at = port;
        console.log("at", port);
    }
    if (taken.size > 1 && taken.get(at) >= 50)
        process.exit(0);
    await pause(10);
}
process.exit(1);
