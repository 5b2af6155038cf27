// The gRPC server as its callers see it: stopping, draining, hanging up, ports.
import { createServer } from "node:net";
import { create } from "@bufbuild/protobuf";
import type { ServerWritableStream } from "@grpc/grpc-js";
import { type Client, makeGenericClientConstructor } from "@grpc/grpc-js";
import test from "ava";
import { service as healthService } from "grpc-health-check";
import {
  type GenerateRequest,
  type GenerateResponse,
  GenerateResponseSchema,
  Inference,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import { bindService, createClient, messagesOf } from "../../../runtime/grpc/bridge.ts";
import { openChannel } from "../../../runtime/grpc/channel.ts";
import { startGrpcServer } from "../../../runtime/grpc/server.ts";
import { silentLog } from "../../../runtime/log.ts";

const host = "127.0.0.1";
const log = silentLog();
const event = create(GenerateResponseSchema, { event: { case: "started", value: { model: "m" } } });

/** A server whose streams say one thing and stay open until `finish`. */
async function startHolding() {
  const held = new Set<ServerWritableStream<GenerateRequest, GenerateResponse>>();
  const finished = Promise.withResolvers<void>();
  const service = bindService(Inference, {
    async generate(call, { signal }) {
      held.add(call);
      call.write(event);
      const aborted = new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve());
      });
      await Promise.race([finished.promise, aborted]);
      held.delete(call);
    },
    embed: async () => ({}),
    score: async () => ({}),
    listModels: async () => ({}),
  });
  const server = await startGrpcServer({ host, port: 0, services: [service], log });
  const channel = openChannel(`${host}:${server.port}`);
  return { server, channel, client: createClient(Inference, channel), finish: finished.resolve };
}

test("a server that stops lets open streams finish and takes no new ones", async (t) => {
  const { server, channel, client, finish } = await startHolding();
  const call = client.generate({});
  const messages = messagesOf(call);
  await messages.next();
  const stopped = server.stop(60_000);
  t.like(await t.throwsAsync(client.embed({})), { code: "link-lost" });
  finish();
  t.true((await messages.next()).done);
  await stopped;
  channel.close();
});

test("a server that stops without grace ends open streams", async (t) => {
  const { server, channel, client } = await startHolding();
  const messages = messagesOf(client.generate({}));
  await messages.next();
  await server.stop();
  const fault = await t.throwsAsync(messages.next());
  t.true(["link-lost", "cancelled"].includes((fault as unknown as { code: string }).code));
  channel.close();
});

test("a draining server says so and goes on serving", async (t) => {
  const { server, channel, client } = await startHolding();
  t.is(await healthOf(channel), "SERVING");
  server.drain();
  t.is(await healthOf(channel), "NOT_SERVING");
  await t.notThrowsAsync(client.embed({}));
  channel.close();
  await server.stop();
});

test("callers who hang up quickly don't end the connection that others share", async (t) => {
  const { server, channel, client } = await startHolding();
  const innocent = client.generate({});
  let ended = false;
  innocent.on("error", () => {
    ended = true;
  });
  await new Promise((resolve) => innocent.once("data", resolve));
  const CANCELS = 3000; // Node's own limit is 1000
  for (let done = 0; done < CANCELS; done++) {
    for await (const _ of messagesOf(client.generate({}))) break;
  }
  await t.notThrowsAsync(client.embed({}));
  t.false(ended);
  innocent.cancel();
  channel.close();
  await server.stop();
});

test("a port that is taken is an error that names it", async (t) => {
  const squatter = createServer().listen(0, host);
  await new Promise((resolve) => squatter.once("listening", resolve));
  const { port } = squatter.address() as { port: number };
  await t.throwsAsync(startGrpcServer({ host, port, services: [], log }), {
    message: new RegExp(`${host}:${port}`),
  });
  squatter.close();
});

/** Through the stock health service's own definition. */
function healthOf(channel: Client): Promise<string> {
  const HealthClient = makeGenericClientConstructor(healthService as never, "Health");
  const client = new HealthClient("unused", null as never, {
    channelOverride: channel.getChannel(),
  });
  return new Promise((resolve, reject) => {
    client.check!({ service: "" }, (error: Error | null, answer: { status: string }) =>
      error ? reject(error) : resolve(answer.status),
    );
  });
}
