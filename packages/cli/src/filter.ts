import type { ContainerSummary } from "@bantubox/core";
import { usageError } from "./usage.ts";
import { parseInteger } from "./values/number.ts";

const STATUSES: readonly string[] = ["created", "running", "paused", "exited"];
/** Those of Docker's that a container is never seen in here: nothing restarts it, and what is removed is gone. */
const NEVER: readonly string[] = ["restarting", "removing", "dead"];
/** Keys whose empty value is one: every container's is of the form, as Docker has it. */
const ANY = ["id", "name"];

type Test = (container: ContainerSummary) => boolean;

/**
 * The containers that all filters let through, as Docker has it: the values of one key are alternatives, except
 * labels; different keys must all hold.
 *
 * @param all Whether containers that do not run are wanted without a filter that asks for them.
 */
export function filterContainers(
  containers: readonly ContainerSummary[],
  filters: readonly string[],
  all: boolean,
): ContainerSummary[] {
  const tests = new Map<string, Test[]>();
  for (const filter of filters) {
    if (filter === "") continue;
    const { key, test } = parseFilter(filter, containers);
    // Each label must hold by itself.
    const group = key === "label" ? filter : key;
    tests.set(group, [...(tests.get(group) ?? []), test]);
  }
  const stopped = all || tests.has("status") || tests.has("exited");
  return containers.filter((container) => {
    if (!stopped && container.status !== "running" && container.status !== "paused") return false;
    for (const alternatives of tests.values()) if (!alternatives.some((test) => test(container))) return false;
    return true;
  });
}

function parseFilter(filter: string, containers: readonly ContainerSummary[]): { key: string; test: Test } {
  const equals = filter.indexOf("=");
  const key = equals < 0 ? filter : filter.slice(0, equals);
  const value = equals < 0 ? "" : filter.slice(equals + 1);
  if (equals < 0 || (value === "" && !ANY.includes(key)))
    throw usageError(`Cannot use ${JSON.stringify(filter)} for --filter: it is not of the form key=value`);
  return { key, test: testOf(key, value, containers) };
}

function testOf(key: string, value: string, containers: readonly ContainerSummary[]): Test {
  switch (key) {
    case "id":
      return ({ id }) => id.startsWith(value);
    case "name": {
      const pattern = parsePattern(value);
      return ({ name }) => pattern.test(name) || pattern.test(`/${name}`);
    }
    case "ancestor": {
      const ids = ancestors(value, containers);
      return ({ imageId }) => ids.has(imageId);
    }
    case "status":
      if (!STATUSES.includes(value) && !NEVER.includes(value))
        throw usageError(`Cannot filter by status "${value}": there is none`, `They are ${STATUSES.join(", ")}`);
      return ({ status }) => status === value;
    case "exited": {
      const code = parseInteger(value, "--filter exited", { max: 255 });
      return ({ status, exitCode }) => status === "exited" && exitCode === code;
    }
    case "label": {
      const equals = value.indexOf("=");
      const name = equals < 0 ? value : value.slice(0, equals);
      const wanted = equals < 0 ? undefined : value.slice(equals + 1);
      return ({ labels }) => Object.hasOwn(labels, name) && (wanted === undefined || labels[name] === wanted);
    }
    case "before":
    case "since": {
      const other = containers.find(({ id, name }) => name === value || id.startsWith(value));
      if (other === undefined) throw usageError(`Cannot filter by ${key} "${value}": there is no such container`);
      return ({ createdMs }) => (key === "before" ? createdMs < other.createdMs : createdMs > other.createdMs);
    }
    default:
      throw usageError(
        `Cannot filter by "${key}": there is no such filter`,
        "The filters are id, name, label, status, exited, ancestor, before and since",
      );
  }
}

/** Docker's names are filtered by regular expressions, in Go's syntax: what all have in common is enough for names. */
function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw usageError(`Cannot filter by name ${JSON.stringify(text)}: it is not a regular expression`);
  }
}

/** The IDs of what an image's name or ID, or the beginning of one, means among what containers are made of. */
function ancestors(value: string, containers: readonly ContainerSummary[]): ReadonlySet<string> {
  const named = containers.filter(({ image }) => image === value || image === `${value}:latest`);
  const hex = value.replace(/^sha256:/, "");
  const found =
    named.length > 0 || !/^[0-9a-f]+$/.test(hex)
      ? named
      : containers.filter(({ imageId }) => imageId.startsWith(`sha256:${hex}`));
  return new Set(found.map(({ imageId }) => imageId));
}
