// The picture is well-formed, names what it shows, and puts longer waits higher.
import test from "ava";
import { drawPercentiles } from "./percentile-picture.ts";

const waits = (scale: number) => Array.from({ length: 1000 }, (_, at) => scale * (at + 1));

test("one panel a scenario, one line a policy, longer waits higher up", (t) => {
  const lines = [
    { name: "ours", ttftsMs: waits(1) },
    { name: "random", ttftsMs: waits(5) },
  ];
  const svg = drawPercentiles("Waits <now>", [
    { title: "steady", lines },
    { title: "bursty", lines },
  ]);
  t.is(svg.match(/<g transform/g)?.length, 2);
  t.true(svg.includes("Waits &#60;now&#62;"));
  t.is(svg.match(/<svg/g)?.length, 1);
  t.true(svg.trimEnd().endsWith("</svg>"));
  const paths = [...svg.matchAll(/<path d="M(\S+) (\S+)L[^"]*" fill="none"/g)];
  t.is(paths.length, 4);
  const [ours, random] = paths.map((match) => Number(match[2]));
  t.true(random! < ours!); // SVG counts down from the top
  t.false(svg.includes("NaN"));
});
