// What a process of the simulated mesh does for those who have a trunk to it.
import type { Fault } from "../../../proto/fault.ts";
import type {
  GenerateRequest,
  GenerateResponse,
} from "../../../proto/gen/isthmus/v1/inference_pb.ts";
import type { CallContext } from "../../../runtime/inference/backend.ts";
import type { SimProcess } from "./sim-process.ts";

/** One completion that a process was asked for. */
export interface ServedCall {
  readonly request: GenerateRequest;
  /** Its signal aborts when the asker is gone. */
  readonly context: CallContext;
  emit(event: GenerateResponse): void;
  /** Once; nothing is emitted after it. */
  end(fault: Fault | null): void;
}

export interface SimService {
  readonly process: SimProcess;
  serve(call: ServedCall): void;
}
