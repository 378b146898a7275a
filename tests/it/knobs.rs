//! What the API leaves open makes no difference to the lake.
