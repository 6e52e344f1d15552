/** The packages of a lockfile that some names lead to, as places in node_modules. Optional ones may be missing. */
export function closureOf(lock, names) {
  const places = new Set();
  const visit = (from, name) => {
    const place = resolvePlace(lock, from, name);
    if (place === undefined || places.has(place)) return;
    places.add(place);
    const { dependencies, optionalDependencies } = lock.packages[place];
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) visit(place, needed);
  };
  for (const name of names) visit('', name);
  return [...places];
}

/** As Node looks for it: in the package's own node_modules, then in those above. */
function resolvePlace(lock, from, name) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(folder.lastIndexOf('/node_modules/'), 0))) {
    const place = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (place in lock.packages) return place;
    if (folder === '') return undefined;
  }
}
