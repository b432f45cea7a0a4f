"""The Telegram bot: the same service, in a chat."""
