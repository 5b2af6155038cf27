// How the commands about models reach the coordinator.
import type { CommandScope } from "./command.ts";
import { CoordinatorClient } from "./coordinator-client.ts";
import { findCoordinator } from "./mesh-file.ts";

export interface CoordinatorChoice {
  readonly coordinator?: string | undefined;
  readonly dir?: string | undefined;
}

/** Faults: UsageError when nothing says where the coordinator is. */
export function clientOf(values: CoordinatorChoice, scope: CommandScope): CoordinatorClient {
  return new CoordinatorClient(findCoordinator({ ...values, ...scope }), scope.signal);
}

export function modelPath(model: string): string {
  return `/v1/models/${encodeURIComponent(model)}`;
}
