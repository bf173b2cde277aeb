/** The icons that the first view does not need: import this where one of them is shown. */

import { STROKES } from "./icon.js";

Object.assign(STROKES, {
  back: "M19 12H5M12 19l-7-7 7-7",
  chevron: "M9 6l6 6-6 6",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  down: "M12 4v14M6 12l6 6 6-6",
  folder: "M3 6h6l2 2h10v11H3z",
  image: "M6 3h8l4 4v14H6zM14 3v4h4M12 10v6M9.500 13.500L12 16l2.500-2.500",
  key: "M8 16a4 4 0 100-8 4 4 0 000 8zM12 12h9M18 12v4",
  larger: "M3 18l5-12 5 12M5 14h6M15 12h7M18.500 8.500v7",
  paste: "M8 5H5v16h14V5h-3M8 3h8v4H8z",
  smaller: "M3 18l5-12 5 12M5 14h6M15 12h7",
  up: "M12 20V6M6 12l6-6 6 6",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.500 11v5M13.500 11v5",
});
