"""A tenant as a file, which another deployment takes in: see docs/adr/0050-portable-tenants.md."""
