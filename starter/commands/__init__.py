"""The commands of `kefu`, by who uses them."""
