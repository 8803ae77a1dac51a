"""What tests share: made-up data, references, servers, runners."""
