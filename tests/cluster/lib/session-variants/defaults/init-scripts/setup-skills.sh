#!/bin/sh
# Registers the skills: links them where opencode looks.
cd "$HOME/.config/opencode" || exit
ln -sfn ../.agentskills/skills/dev-server skills/dev-server
date >>"$HOME/setup-skills.log"
