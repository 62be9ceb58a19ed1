"""The formats of logs, a file each: `recognises` by content, `parse` into the file's own columns, `jobs` into ours."""
