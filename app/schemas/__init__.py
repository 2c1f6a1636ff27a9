"""What goes in and out, one file a resource."""
