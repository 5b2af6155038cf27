// gRPC server reflection over the descriptors that the generated code carries, so that a client in
// any language learns the schema from a running process.

import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import type { Server } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";

/** Adds grpc.reflection.v1 and v1alpha for these services and all that their messages need. */
export function addReflection(server: Server, services: readonly DescService[]): void {
  const files = new Map<string, DescFile>();
  for (const service of services) collect(service.file, files);
  const fileDescriptorProtos = [...files.values()].map((file) =>
    Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto)),
  );
  // The reflection package reads nothing of a definition but its descriptors.
  const definition = { format: "", type: {}, fileDescriptorProtos };
  type Definition = ConstructorParameters<typeof ReflectionService>[0];
  const reflection = new ReflectionService({ isthmus: definition } as unknown as Definition, {
    services: services.map((service) => service.typeName),
  });
  reflection.addToServer(server);
}

/** Dependencies first. */
function collect(file: DescFile, into: Map<string, DescFile>): void {
  if (into.has(file.proto.name)) return;
  for (const dependency of file.dependencies) collect(dependency, into);
  into.set(file.proto.name, file);
}
