// What one edge should serve of what is told to all: the desired version of each model, or the one
// that this edge was chosen to try. Pure.
import type { DesiredState, ModelVersion } from "../../proto/gen/isthmus/v1/mesh_pb.ts";

/** `name` is `<region>/<edge>`. A trial of a model that isn't desired counts for nothing. */
export function desiredOf(told: DesiredState, name: string): readonly ModelVersion[] {
  const mine = told.trials.filter(({ edges }) => edges.includes(name));
  return told.models.map((desired) => {
    const trial = mine.find(({ version }) => version?.model === desired.model);
    return trial?.version ?? desired;
  });
}
