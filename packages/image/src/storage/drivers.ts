import { BoxError } from "@bantubox/ffi";
import { type DriverName, driverName, hasDriver, type ImageStore } from "../store/store.ts";
import { btrfs } from "./btrfs.ts";
import { copy } from "./copy.ts";
import type { StorageDriver } from "./driver.ts";
import { overlay } from "./overlay.ts";

const DRIVERS: Readonly<Record<DriverName, StorageDriver>> = { overlay, btrfs, copy };

/** The driver of roots that are directories of the host, whatever the store's is. */
export const OVERLAY: StorageDriver = overlay;

/** The store's driver. @throws {BoxError} `storage-driver` when another one was asked for. */
export function driverOf(store: ImageStore): StorageDriver {
  return DRIVERS[driverName(store)];
}

/**
 * The store's driver, which it keeps from now on: what lies in a store of one driver means nothing to another.
 *
 * @throws {BoxError} `storage-driver`, or `storage-unsupported` when this host cannot.
 */
export function settleDriver(store: ImageStore): StorageDriver {
  const driver = driverOf(store);
  if (hasDriver(store)) return driver;
  driver.check(store.root);
  store.database.query("INSERT OR IGNORE INTO storage (one, driver) VALUES (1, ?1)").run(driver.name);
  // Another command may have been first, with another driver.
  return driverOf(store);
}

/** @throws {BoxError} `storage-driver` for a name that is none. */
export function parseDriver(name: string): DriverName {
  if (Object.hasOwn(DRIVERS, name)) return name as DriverName;
  throw new BoxError("storage-driver", `Cannot use the storage driver ${JSON.stringify(name)}: there is none`, {
    hint: `They are ${Object.keys(DRIVERS).join(", ")}`,
  });
}
