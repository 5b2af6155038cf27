// Regions that a unary call has passed, as gRPC metadata; completions carry them in their Submit.
import { Metadata } from "@grpc/grpc-js";
import { namePattern } from "../../proto/ids.ts";
import { VISITED_MAX } from "./bounds.ts";

const KEY = "isthmus-visited-regions";

export function visitedMetadata(regions: readonly string[]): Metadata {
  const metadata = new Metadata();
  if (regions.length > 0) metadata.set(KEY, regions.join(","));
  return metadata;
}

/** Reads them back; what isn't a region's name is left out. */
export function visitedRegionsOf(metadata: Metadata): readonly string[] {
  const text = metadata.get(KEY)[0]?.toString() ?? "";
  return text
    .split(",")
    .filter((name) => namePattern.test(name))
    .slice(0, VISITED_MAX);
}
