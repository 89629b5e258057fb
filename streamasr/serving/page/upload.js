// A recording to the server, whole, with progress; fetch cannot tell how much was sent.

export function upload(file, token, onProgress) {
  const form = new FormData();
  form.append("file", file);
  form.append("model", "streamasr");
  form.append("response_format", "verbose_json");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL("v1/audio/transcriptions", document.baseURI));
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error("The server cannot be reached."));
    request.onload = () => {
      if (request.status === 200) resolve(request.response);
      else reject(new Error(request.response?.error?.message ?? `The server said ${request.status}.`));
    };
    request.send(form);
  });
}
