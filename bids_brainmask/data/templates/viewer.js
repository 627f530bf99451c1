// SPDX-License-Identifier: Apache-2.0
// Interactive viewer of an image with its masks. NiiVue and the images are in the page as text.
// They are decoded only after a click. The page makes no network requests.
"use strict";

(() => {
  // Values of the labels: 0 background, 1 brain, 2 meningioma; colors as in the figures.
  const COLORS = {
    R: [0, 0, 255],
    G: [0, 229, 90],
    B: [0, 255, 31],
    A: [0, 255, 255],
    I: [0, 1, 2],
    labels: ["", "brain", "meningioma"],
  };
  const STEPS = {
    ArrowLeft: [-1, 0, 0],
    ArrowRight: [1, 0, 0],
    ArrowUp: [0, 1, 0],
    ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1],
    PageDown: [0, 0, -1],
  };

  let library; // a promise of NiiVue, after the first request
  let shut = () => {}; // closes the open viewer: browsers allow only a few WebGL contexts

  const text = (id) => document.getElementById(id).textContent.trim();

  async function unpack() {
    const zipped = Uint8Array.from(atob(text("viewer-library")), (c) => c.charCodeAt(0));
    const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script); // this runs it
    return window.niivue;
  }

  function start(view) {
    const find = (name) => view.querySelector(`[data-viewer="${name}"]`);
    const [button, panel, stage, say] = ["open", "panel", "stage", "status"].map(find);

    async function show() {
      shut();
      button.disabled = true;
      say.textContent = "Loading…";
      if (!document.createElement("canvas").getContext("webgl2")) {
        throw new Error("the viewer needs WebGL 2, which this browser does not have");
      }
      if (!window.DecompressionStream) {
        throw new Error("this browser is too old for the viewer (it has no DecompressionStream)");
      }
      library ??= unpack();
      const { Niivue, NVImage } = await library;
      panel.hidden = false;
      const canvas = document.createElement("canvas");
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", view.dataset.title);
      stage.replaceChildren(canvas);
      const drawn = new Niivue({
        logLevel: "error",
        dragAndDropEnabled: false,
        multiplanarShowRender: 0,
        crosshairColor: [1, 0.8, 0.2, 0.8],
        loadingText: "",
      });
      shut = () => close(drawn);
      drawn.onLocationChange = (place) => {
        const [x, y, z] = [...place.mm].map((value) => value.toFixed(1));
        find("place").textContent = `x ${x}, y ${y}, z ${z} mm`;
      };
      await drawn.attachToCanvas(canvas);
      drawn.addVolume(
        await NVImage.loadFromBase64({ base64: text(view.dataset.image), name: "image.nii.gz" }),
      );
      const labels = await NVImage.loadFromBase64({
        base64: text(view.dataset.labels),
        name: "labels.nii.gz",
      });
      labels.hdr.intent_code = 1002; // NIFTI_INTENT_LABEL: only labels have outlines
      labels.setColormapLabel(COLORS);
      drawn.addVolume(labels);
      const look = () => {
        const shown = find("show").checked;
        drawn.opts.atlasOutline = shown && find("outline").checked ? 1 : 0;
        drawn.setOpacity(1, shown ? Number(find("opacity").value) : 0);
      };
      for (const name of ["show", "opacity", "outline"]) find(name).oninput = look;
      canvas.addEventListener("keydown", (event) => {
        if (event.code in STEPS && !event.ctrlKey && !event.altKey && !event.metaKey) {
          event.preventDefault();
          drawn.moveCrosshairInVox(...STEPS[event.code]);
        }
      });
      look();
      drawn.moveCrosshairInVox(0, 0, 0); // this shows the position
      say.textContent = "";
      canvas.focus({ preventScroll: true });
    }

    function close(drawn) {
      drawn?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
      drawn?.cleanup();
      stage.replaceChildren();
      panel.hidden = true;
      button.disabled = false;
      shut = () => {};
    }

    button.hidden = false;
    button.addEventListener("click", () =>
      show().catch((error) => {
        shut();
        panel.hidden = true;
        button.disabled = false;
        say.textContent = `The viewer cannot be shown: ${error.message}.`;
      }),
    );
    find("close").addEventListener("click", () => {
      shut();
      button.focus();
    });
  }

  document.querySelectorAll(".viewer").forEach(start);
})();
