// One request to a role's HTTP interface, as every client of the command makes it.
import { Fault, isFaultCode } from "../../proto/fault.ts";

/** The answer, if it is a good one. Faults: the role's own, or `unavailable`, naming the role. */
export async function requestRole(
  role: string,
  address: string,
  path: string,
  init: RequestInit,
): Promise<Response> {
  const response = await fetch(new URL(path, address), init).catch((thrown: unknown) => {
    const message = `${role} at ${address} does not answer`;
    throw new Fault("unavailable", message, { cause: thrown });
  });
  if (!response.ok) throw await refusalOf(response);
  return response;
}

/** What a role refused a request with. */
export async function refusalOf(response: Response): Promise<Fault> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { error: { code?: string; message?: string } };
    const code = error.code ?? "internal";
    return new Fault(isFaultCode(code) ? code : "internal", error.message ?? text);
  } catch {
    return new Fault("internal", `${response.url} answered ${response.status}`);
  }
}
