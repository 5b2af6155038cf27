// Range and Content-Range headers.
import test from "ava";
import fc from "fast-check";
import { parseContentRange, parseRange } from "../../../sync/artifact/byte-range.ts";

test("every satisfiable single range is read as RFC 9110 says", (t) => {
  t.deepEqual(parseRange("bytes=0-0", 10), { start: 0, end: 0 });
  t.deepEqual(parseRange("bytes=3-", 10), { start: 3, end: 9 });
  t.deepEqual(parseRange("bytes=-4", 10), { start: 6, end: 9 });
  t.deepEqual(parseRange("bytes=-40", 10), { start: 0, end: 9 });
  t.deepEqual(parseRange("bytes=5-99", 10), { start: 5, end: 9 });
});

test("what can't be satisfied is told apart from what is ignored", (t) => {
  for (const header of ["bytes=10-", "bytes=10-12", "bytes=-0"]) {
    t.is(parseRange(header, 10), "unsatisfiable", header);
  }
  for (const header of [undefined, "bytes=-", "bytes=5-2", "lines=0-1", "bytes=0-1,3-4", "x"]) {
    t.is(parseRange(header, 10), "whole", String(header));
  }
});

test("a range never leaves the file, whatever the header", (t) => {
  const header = fc.oneof(
    fc.string(),
    fc.tuple(fc.nat(), fc.nat()).map(([a, b]) => `bytes=${a}-${b}`),
    fc.nat().map((a) => `bytes=-${a}`),
  );
  const law = fc.property(header, fc.nat(), (text, size) => {
    const range = parseRange(text, size);
    if (typeof range === "string") return true;
    return range.start >= 0 && range.start <= range.end && range.end < size;
  });
  t.notThrows(() => fc.assert(law, { seed: 7 }));
});

test("a Content-Range says which bytes follow, of how many", (t) => {
  t.deepEqual(parseContentRange("bytes 0-4/10"), { range: { start: 0, end: 4 }, total: 10 });
  t.deepEqual(parseContentRange("bytes 0-4/*"), { range: { start: 0, end: 4 }, total: undefined });
  t.deepEqual(parseContentRange("bytes */10"), { range: undefined, total: 10 });
  for (const wrong of ["bytes 4-0/10", "bytes 0-10/10", "bytes */*", "0-4/10", "bytes -4/10", ""]) {
    t.is(parseContentRange(wrong), undefined, wrong);
  }
});
