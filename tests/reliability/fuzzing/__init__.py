"""Every reader of files is given damaged and hostile ones, in processes of their own."""
