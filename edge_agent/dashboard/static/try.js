// The page Try an image: a file, or a picture of this device's own camera.

import "./dialogs.js";
import { follow } from "./live.js";
import "./theme.js";

const main = document.querySelector("main");
const form = main.querySelector("[data-upload]");
const trouble = main.querySelector("[data-camera-trouble]");
const finder = main.querySelector("[data-viewfinder]");
const video = finder?.querySelector("video");

function complain(text) {
  trouble.textContent = text;
  trouble.hidden = false;
}

async function openCamera() {
  if (!navigator.mediaDevices) return complain(main.dataset.insecure);
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
    trouble.hidden = true;
    finder.hidden = false;
    finder.querySelector("button").focus();
  } catch (error) {
    complain(main.dataset.denied.replace("{reason}", error.message || error.name));
  }
}

function shoot() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((picture) => {
    const files = new DataTransfer();
    files.items.add(new File([picture], "camera.jpg", { type: "image/jpeg" }));
    form.elements.picture.files = files.files;
    for (const track of video.srcObject.getTracks()) track.stop();
    form.requestSubmit(form.querySelector("[type=submit]"));
  }, "image/jpeg", 0.95);
}

main.querySelector("[data-camera]")?.addEventListener("click", openCamera);
main.querySelector("[data-shoot]")?.addEventListener("click", () => { if (video.videoWidth) shoot(); });

const opacity = main.querySelector("[data-opacity]");
function fade() {
  main.querySelector(".overlays").style.opacity = String(opacity.value / 100);
  opacity.nextElementSibling.textContent = `${opacity.value} %`;
}
if (opacity) { opacity.addEventListener("input", fade); fade(); }

follow({});
