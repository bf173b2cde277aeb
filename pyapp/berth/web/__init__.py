"""The dashboard's side on the device: the API, who may use it, its streams, and the web process that serves them."""
