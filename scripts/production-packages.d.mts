export interface ProductionPackage {
  readonly name: string;
  readonly version: string;
  readonly license: string | undefined;
}

export function productionPackages(): ProductionPackage[];
