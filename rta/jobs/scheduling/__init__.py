"""Jobs on a schedule: what is due (pure), the slots in the database, the process that starts them."""
