"""A stand-in for Telegram: chats in memory, the Bot API's methods over HTTP on this machine."""
