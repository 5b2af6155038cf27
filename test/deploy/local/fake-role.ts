// A stand-in for a role's program, for tests of the launcher alone: keeps the protocol (config
// file, ready line, SIGTERM, the end of stdin, /readyz) and does nothing else. As a coordinator it
// also takes artifacts and models, and writes what it took to `taken.jsonl` in its folder.
import { createHash } from "node:crypto";
import { appendFileSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { join } from "node:path";

interface FakeConfig {
  readonly dir: string;
  readonly http: { readonly host: string; readonly port: number };
  readonly grpc: { readonly host: string; readonly port: number };
  /** End with this code before being ready. */
  readonly failWith?: number;
  /** Ignore SIGTERM and the end of stdin. */
  readonly stubborn?: boolean;
}

const configPath = process.argv[process.argv.indexOf("--config") + 1] ?? "";
const config = JSON.parse(readFileSync(configPath, "utf8")) as FakeConfig;

if (config.failWith !== undefined) {
  process.stderr.write("this role was told to fail\n");
  process.exit(config.failWith);
}

const end = () => {
  if (config.stubborn !== true) process.exit(0);
};
process.on("SIGTERM", end);
if (process.argv.includes("--watch-parent")) {
  process.stdin.on("end", end);
  process.stdin.on("error", end);
  process.stdin.resume();
}

const server = createServer(async (request, response) => {
  if (request.method === "GET") return void response.end("ok");
  const body = await bodyOf(request);
  const url = new URL(request.url ?? "", "http://role");
  const taken = {
    method: request.method,
    path: url.pathname,
    name: url.searchParams.get("name"),
    sha256: createHash("sha256").update(body).digest("hex"),
    json: request.method === "POST" ? JSON.parse(body.toString()) : undefined,
  };
  appendFileSync(join(config.dir, "taken.jsonl"), `${JSON.stringify(taken)}\n`);
  response.writeHead(201).end("{}");
});

server.listen(config.http.port, config.http.host, () => {
  const { host } = config.http;
  const line = {
    ready: true,
    http: `http://${host}:${config.http.port}`,
    grpc: `${host}:${config.grpc.port}`,
  };
  process.stderr.write('{"msg":"listening"}\n');
  process.stdout.write(`${JSON.stringify(line)}\n`);
});

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
