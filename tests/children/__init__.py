"""Programs that tests run in processes of their own, to kill, starve or outrun them: `python -m tests.children.name`."""
