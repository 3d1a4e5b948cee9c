import type { ContainerSummary } from "@bantubox/core";
import { usageError } from "./usage.ts";
import { parseInteger } from "./values/number.ts";

const STATUSES: readonly string[] = ["created", "running", "paused", "exited"];

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
  if (value === "")
    throw usageError(`Cannot use ${JSON.stringify(filter)} for --filter: it is not of the form key=value`);
  return { key, test: testOf(key, value, containers) };
}

function testOf(key: string, value: string, containers: readonly ContainerSummary[]): Test {
  switch (key) {
    case "id":
      return ({ id }) => id.startsWith(value);
    case "name":
      return ({ name }) => name.includes(value);
    case "ancestor":
      return ({ image }) => image === value || image === `${value}:latest`;
    case "status":
      if (!STATUSES.includes(value))
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
