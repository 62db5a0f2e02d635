"""The API's paths, by resource."""
