// Which desired state a region holds: the newest revision that it ever heard of, wherever from.
import { fromBinary, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type DesiredState, DesiredStateSchema } from "../../proto/gen/isthmus/v1/mesh_pb.ts";
import { modelPattern } from "../../proto/ids.ts";

const MODELS_MAX = 1024;

/** The newer of the two; the one held when they are of the same revision. */
export function newer(held: DesiredState | null, offered: DesiredState): DesiredState {
  return held !== null && held.revision >= offered.revision ? held : offered;
}

/** Reads a message of the mesh, or says why it is none. */
export function readDesired(body: Uint8Array): DesiredState | string {
  try {
    return checked(fromBinary(DesiredStateSchema, body));
  } catch {
    return "not a DesiredState";
  }
}

/** Reads what was kept. Faults: throws on anything else than what `desiredToText` wrote. */
export function desiredFromText(text: string): DesiredState {
  const desired = checked(fromJson(DesiredStateSchema, JSON.parse(text) as JsonValue));
  if (typeof desired === "string") throw new TypeError(desired);
  return desired;
}

export function desiredToText(desired: DesiredState): string {
  return JSON.stringify(toJson(DesiredStateSchema, desired));
}

function checked(desired: DesiredState): DesiredState | string {
  if (desired.revision === 0n) return "it has no revision";
  if (desired.models.length > MODELS_MAX) return `more than ${MODELS_MAX} models`;
  if (desired.trials.length > desired.models.length) return "more trials than models";
  if (desired.models.some(({ model }) => !modelPattern.test(model))) return "a wrong model name";
  return desired;
}
