/** Names for containers that were given none: a quality and something of the craft. */
const QUALITIES =
  "able agile amber ample apt bold brave brief bright brisk calm candid clear clever cosmic crisp daring deft eager early exact fair fast fine firm fleet fond frank free fresh gentle glad golden grand happy hardy humble ideal keen kind light lively loyal lucid merry mild modest neat noble patient plain polite prime proud quick quiet ready robust rustic sharp silent simple sincere smart snug solid spry stable steady sturdy subtle sunny swift tidy tranquil trusty vivid warm wise witty young zesty";
const THINGS =
  "anchor anvil arch atlas axle barge basin beacon bell bobbin bridge brook cabin canoe canyon cedar chisel cliff comet compass coral cove crane creek delta derrick dock dune elm ember estuary falcon fern ferry fjord forge garden glacier grove harbor hawk heron hull iris island jetty kayak keel kiln lagoon lantern ledge loom lotus maple marsh meadow mill oak oasis orbit otter paddle palm pebble pier pine plateau pond prairie pulley quarry quay raft reef ridge river rudder sail saddle shore sloop spruce stream summit tide timber trellis valley wharf willow";

/** The name of a container without a row: it follows from its ID, and is as unique as eight digits of that. */
export function nameOf(id: string): string {
  const at = (from: number): number => Number.parseInt(id.slice(from, from + 4), 16);
  return `${pick(QUALITIES, at(0))}_${pick(THINGS, at(4))}_${id.slice(0, 4)}`;
}

/** One of some ten thousand; whoever uses it sees to it that it is free. */
export function randomName(): string {
  return `${pick(QUALITIES, random())}_${pick(THINGS, random())}`;
}

function pick(words: string, number: number): string {
  const list = words.split(" ");
  return list[number % list.length] ?? "";
}

function random(): number {
  return Math.floor(Math.random() * 0x1_0000);
}
