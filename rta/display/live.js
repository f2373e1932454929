// The page of a live view.
