// The edge's key and what it signs.
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import test from "ava";
import fc from "fast-check";
import {
  DeltaCodec,
  DeltaFormatSchema,
  DeltaManifestSchema,
} from "../../../proto/gen/isthmus/v1/rounds_pb.ts";
import {
  type DeltaStatement,
  isManifestSigned,
  signManifest,
} from "../../../sync/delta/delta-manifest.ts";
import { isSignedBy, openSigningKey } from "../../../sync/delta/signing-key.ts";

const dir = mkdtempSync(join(tmpdir(), "isthmus-signing-"));
const key = openSigningKey(join(dir, "keys", "edge.pem"));
test.after.always(() => rmSync(dir, { recursive: true }));

const statement: DeltaStatement = {
  campaign: "c-1",
  round: 3,
  region: "us",
  edge: "us-1",
  model: "commands",
  baseSha256: "b".repeat(64),
  startSha256: "",
  rank: 8,
  alpha: 16,
  examples: 60,
  norm: 1.25,
  lossBefore: 0.1,
  lossAfter: 0.05,
  delta: { sha256: "d".repeat(64), bytes: 1234n, name: "delta.safetensors" },
};

test("a key is made once, for its owner's eyes only, and is the same when opened again", (t) => {
  const path = join(dir, "once", "edge.pem");
  const first = openSigningKey(path);
  t.is(first.publicKey.length, 32);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.deepEqual(openSigningKey(path).publicKey, first.publicKey);
  t.notDeepEqual(openSigningKey(join(dir, "other.pem")).publicKey, first.publicKey);
});

test("a file that holds no Ed25519 key is refused, not replaced", (t) => {
  const path = join(dir, "broken.pem");
  writeFileSync(path, "not a key");
  t.throws(() => openSigningKey(path));
});

test("a manifest verifies after the trip through protobuf JSON and binary", (t) => {
  const manifest = signManifest(statement, key);
  t.true(isManifestSigned(manifest));
  const json = JSON.parse(JSON.stringify(toJson(DeltaManifestSchema, manifest)));
  t.true(isManifestSigned(fromJson(DeltaManifestSchema, json)));
  const bytes = toBinary(DeltaManifestSchema, manifest);
  t.true(isManifestSigned(fromBinary(DeltaManifestSchema, bytes)));
});

test("what a later version may add is neither signed nor in the way", (t) => {
  const bytes = toBinary(DeltaManifestSchema, signManifest(statement, key));
  const unknownField = Uint8Array.of(((100 << 3) & 0x7f) | 0x80, (100 << 3) >> 7, 7);
  const longer = fromBinary(DeltaManifestSchema, Buffer.concat([bytes, unknownField]));
  t.is(longer.$unknown?.length, 1);
  t.true(isManifestSigned(longer));
});

test("no field of a signed manifest can be changed", (t) => {
  const changes: Partial<Record<keyof DeltaStatement, unknown>> = {
    campaign: "c-2",
    round: 4,
    region: "eu",
    edge: "us-2",
    model: "other",
    baseSha256: "c".repeat(64),
    startSha256: "a".repeat(64),
    rank: 9,
    alpha: 17,
    examples: 61,
    norm: 1.26,
    lossBefore: 0.2,
    lossAfter: 0.06,
    delta: undefined,
    format: create(DeltaFormatSchema, { codec: DeltaCodec.INT8 }),
    chunkBytes: 65_536,
    chunkSha256: [new Uint8Array(32)],
    targets: ["attn_q"],
    noised: true,
    masked: true,
  };
  for (const [field, value] of Object.entries(changes)) {
    const manifest = Object.assign(signManifest(statement, key), { [field]: value });
    t.false(isManifestSigned(manifest), field);
  }
  t.is(Object.keys(changes).length, DeltaManifestSchema.fields.length - 2);
});

test("whatever isn't that key's signature of that message is refused without a throw", (t) => {
  const message = new TextEncoder().encode("delta");
  const signature = key.sign(message);
  t.true(isSignedBy(key.publicKey, message, signature));
  const bytes = fc.uint8Array({ maxLength: 100 });
  fc.assert(
    fc.property(bytes, bytes, (publicKey, forged) => {
      return (
        !isSignedBy(publicKey, message, signature) && !isSignedBy(key.publicKey, message, forged)
      );
    }),
    { seed: 1, numRuns: 500 },
  );
});
