// HTTP of a regional round: edges hand their deltas in, people look at rounds and the quarantine.
import { fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { Fault } from "../../proto/fault.ts";
import {
  type DeltaManifest,
  DeltaManifestSchema,
  RegionRoundStatusSchema,
} from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { namePattern } from "../../proto/ids.ts";
import { parseContentRange } from "../../sync/artifact/byte-range.ts";
import { DELTA_BYTES_MAX } from "../../sync/delta/screening.ts";
import type { DeltaAnswer, DeltaStatus } from "./delta-answer.ts";
import { quarantineOf } from "./quarantine.ts";
import type { RegionRounds } from "./region-rounds.ts";
import type { RoundRunner } from "./round-runner.ts";
import { statusOfRound } from "./round-status.ts";

const MANIFEST_BYTES_MAX = 64 << 10;
const DELTA_PATH = "/v1/rounds/:campaign/:round/deltas/:edge";
const roundPattern = /^\d{1,7}$/;

const httpStatusOf: Record<DeltaStatus, 200 | 201 | 202 | 403 | 409 | 410 | 422> = {
  receiving: 202,
  included: 201,
  duplicate: 200,
  "manifest-first": 409,
  offset: 409,
  "bad-chunk": 409,
  conflict: 409,
  late: 410,
  quarantined: 422,
  "not-invited": 403,
};

export interface RoundRoutesOptions {
  readonly region: string;
  readonly http: () => string;
}

/**
 * PUT …/deltas/:edge/manifest takes a manifest as protobuf JSON, PUT …/deltas/:edge the bytes with
 * a Content-Range, GET and HEAD …/deltas/:edge tell how many are here (also as Upload-Offset).
 * `current` throws a fault while this process has no rounds.
 */
export function roundRoutes(current: () => RegionRounds, options: RoundRoutesOptions): Hono {
  const app = new Hono();
  const manifestLimit = bodyLimit({
    maxSize: MANIFEST_BYTES_MAX,
    onError: () => {
      throw new Fault("payload-too-large", `a manifest has at most ${MANIFEST_BYTES_MAX} bytes`);
    },
  });
  app.put(`${DELTA_PATH}/manifest`, manifestLimit, async (c) => {
    const rounds = current();
    const { runner, edge } = find(c, rounds);
    const manifest = parseManifest(await c.req.text());
    return tell(await rounds.inbox.takeManifest(runner, edge, manifest));
  });
  app.put(DELTA_PATH, async (c) => {
    const rounds = current();
    const { runner, edge } = find(c, rounds);
    const piece = parseContentRange(c.req.header("content-range") ?? "");
    if (piece?.total === undefined || piece.total > DELTA_BYTES_MAX) {
      throw new Fault("invalid-argument", "Content-Range must be `bytes a-b/total`", {
        param: "content-range",
      });
    }
    return tell(await rounds.inbox.takePiece(runner, edge, piece, c.req.raw.body));
  });
  app.get(DELTA_PATH, async (c) => {
    const rounds = current();
    const { runner, edge } = find(c, rounds);
    return tell(await rounds.inbox.progress(runner, edge), 200);
  });
  app.get("/v1/rounds/:campaign/:round", (c) => {
    const { state } = findRound(c, current());
    const status = statusOfRound(state, { region: options.region, http: options.http() });
    return c.json(toJson(RegionRoundStatusSchema, status));
  });
  const isKept = (sha256: string) => current().inbox.isKept(sha256);
  app.get("/v1/rounds/:campaign/:round/quarantine", (c) =>
    c.json({ deltas: quarantineOf(findRound(c, current()).state, isKept) }),
  );
  app.get("/v1/quarantine", (c) =>
    c.json({
      deltas: current()
        .rounds()
        .flatMap(({ state }) => quarantineOf(state, isKept)),
    }),
  );
  return app;
}

function tell(answer: DeltaAnswer, status: number = httpStatusOf[answer.status]): Response {
  const headers = { "upload-offset": String(answer.received) };
  return Response.json(answer, { status, headers });
}

function find(c: Context, rounds: RegionRounds): { runner: RoundRunner; edge: string } {
  const edge = c.req.param("edge") ?? "";
  if (!namePattern.test(edge)) throw new Fault("invalid-argument", "the edge's name is invalid");
  return { runner: findRound(c, rounds), edge };
}

function findRound(c: Context, rounds: RegionRounds): RoundRunner {
  const campaign = c.req.param("campaign") ?? "";
  const round = c.req.param("round") ?? "";
  const runner = roundPattern.test(round) ? rounds.round(campaign, Number(round)) : undefined;
  if (!runner) throw new Fault("not-found", "this region has no such round");
  return runner;
}

function parseManifest(text: string): DeltaManifest {
  try {
    return fromJson(DeltaManifestSchema, JSON.parse(text) as JsonValue);
  } catch (cause) {
    throw new Fault("invalid-argument", "the body is no delta manifest in protobuf JSON", {
      cause,
    });
  }
}
