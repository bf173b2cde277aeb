/** Style sheets of what is loaded late. */

const loaded = new Map();

/** Load the style sheet at `path` once; the promise is kept when it holds.  After a failure another attempt may do better. */
export function loadStyle(path) {
  if (!loaded.has(path)) {
    loaded.set(
      path,
      new Promise((keep, fail) => {
        const sheet = document.createElement("link");
        sheet.rel = "stylesheet";
        sheet.href = path;
        sheet.onload = keep;
        sheet.onerror = () => {
          loaded.delete(path);
          sheet.remove();
          fail(new Error(`${path} could not be loaded`));
        };
        document.head.append(sheet);
      }),
    );
  }
  return loaded.get(path);
}
