// Where one process of a mesh finds another: at the address where that listens, or at that of
// something laid between the two, such as a proxy that makes the link slow or silent.

/** The host:port at which `from`, a process by its name, finds what listens at `address`. */
export type Wiring = (from: string, address: string) => string;

/** In the place of a name: whoever hears of an address from the one that listens there. */
export const ANYBODY = "anybody";

const HOST_PORT = /[\w.-]+:\d+(?=\/|$)/;

/** The same URL, or host:port, as `from` must use it. */
export function wired(via: Wiring | undefined, from: string, url: string): string {
  return via === undefined ? url : url.replace(HOST_PORT, (address) => via(from, address));
}
