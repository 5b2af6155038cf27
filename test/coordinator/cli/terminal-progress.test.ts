// Progress on a terminal replaces itself, however many lines it has; elsewhere it is a log.
import test from "ava";
import { durationText } from "../../../coordinator/cli/duration.ts";
import { createTerminal } from "../../../coordinator/cli/terminal.ts";

function screen(isTTY: boolean) {
  let written = "";
  const out = { isTTY, columns: 20, write: (text: string) => (written += text) };
  return { terminal: createTerminal(out, out), text: () => written };
}

/** What a terminal shows after all that was written: enough of VT100 for a line that moves up. */
function shown(written: string): string {
  const lines = [""];
  let row = 0;
  const marked = written.replaceAll("\u001b[1A", "↑").replaceAll("\u001b[2K", "⌫");
  for (const part of marked.matchAll(/[↑⌫\r\n]|[^↑⌫\r\n]+/g)) {
    if (part[0] === "↑") row -= 1;
    else if (part[0] === "⌫") lines[row] = "";
    else if (part[0] === "\n") {
      row += 1;
      lines[row] ??= "";
    } else if (part[0] !== "\r") lines[row] += part[0];
  }
  return lines.slice(0, row + 1).join("\n");
}

test("a panel takes the place of the one before, and a line goes above it", (t) => {
  const { terminal, text } = screen(true);
  terminal.progress("one", "1", ["a", "b"]);
  terminal.progress("two, which is longer than the screen is", "2", ["c"]);
  t.is(shown(text()), "two, which is longe\nc");
  terminal.print("done");
  terminal.progress("three", "3");
  t.is(shown(text()), "done\nthree");
});

test("where lines stay there is one for each milestone, without details", (t) => {
  const { terminal, text } = screen(false);
  terminal.progress("one", "1", ["a"]);
  terminal.progress("one and a half", "1", ["a"]);
  terminal.progress("two", "2", ["a"]);
  t.is(text(), "one\ntwo\n");
});

test("spans of time are said in their two largest units", (t) => {
  const cases: [number, string][] = [
    [0, "0 s"],
    [499, "0 s"],
    [45_000, "45 s"],
    [60_000, "1 min"],
    [200_000, "3 min 20 s"],
    [6 * 3_600_000, "6 h"],
    [(2 * 24 + 4) * 3_600_000 + 59_000, "2 d 4 h"],
  ];
  t.deepEqual(
    cases.map(([ms]) => durationText(ms)),
    cases.map(([, text]) => text),
  );
});
