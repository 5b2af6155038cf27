// Where campaigns are at the coordinator, and who asks there for a command's line.
import type { CommandScope } from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { findCoordinator } from "./mesh-file.ts";

export function clientOf(
  values: { coordinator?: string | undefined; dir?: string | undefined },
  scope: CommandScope,
): CoordinatorClient {
  return new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
}

export function campaignPath(id: string): string {
  return `/v1/campaigns/${encodeURIComponent(id)}`;
}
