"""The post room: what people are told goes out over the channels they read."""
