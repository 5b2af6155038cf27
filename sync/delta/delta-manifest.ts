// What an edge says about its delta, signed so that nobody else can say it for it.
import { clone, create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type DeltaManifest, DeltaManifestSchema } from "../../proto/gen/isthmus/v1/rounds_pb.ts";
import { isSignedBy, type SigningKey } from "./signing-key.ts";

/** Everything a manifest says but who signs it. */
export type DeltaStatement = Omit<
  MessageInitShape<typeof DeltaManifestSchema>,
  "$typeName" | "publicKey" | "signature"
>;

/** Builds and signs a manifest. */
export function signManifest(statement: DeltaStatement, key: SigningKey): DeltaManifest {
  const manifest = create(DeltaManifestSchema, { ...statement, publicKey: key.publicKey });
  manifest.signature = key.sign(signedBytes(manifest));
  return manifest;
}

/** Whether the manifest was signed, as it stands, by the key that it names. */
export function isManifestSigned(manifest: DeltaManifest): boolean {
  return isSignedBy(manifest.publicKey, signedBytes(manifest), manifest.signature);
}

/**
 * What the signature covers: the binary encoding without the signature and without fields that
 * this version doesn't know, in the order of their numbers.
 */
function signedBytes(manifest: DeltaManifest): Uint8Array {
  const unsigned = clone(DeltaManifestSchema, manifest);
  unsigned.signature = new Uint8Array();
  return toBinary(DeltaManifestSchema, unsigned, { writeUnknownFields: false });
}
