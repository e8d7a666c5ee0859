//! What the API reads, one file per resource. Rows are answered as they are: a field here is a key there.
