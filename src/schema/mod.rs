//! Workshop: the public JSON objects and their conversions; source of the OpenAPI document.
