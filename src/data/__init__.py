"""Files and generated rooms, turned into batches of photo, depth and mask."""
