// German texts. The keys are those of en.ts.

import type { Key } from "./en";

export const de: Record<Key, string> = {
  "app.name": "opencode",
  "app.home": "Alle Sitzungen",
  "app.signedInAs": "Angemeldet als {{email}}",
  "app.theme": "Farbschema",
  "theme.system": "System",
  "theme.dark": "Dunkel",
  "theme.light": "Hell",
  "app.skip": "Zum Inhalt",

  "compose.title": "Sitzung starten",
  "compose.repo": "Repository",
  "compose.repoHint": "URL oder Besitzer/Name",
  "compose.branch": "Branch",
  "compose.from": "Ausgehend von",
  "compose.fromHint": "Standard-Branch",
  "compose.message": "Erste Nachricht (optional)",
  "compose.messageHint": "Was soll getan werden? (optional)",
  "compose.start": "Starten",
  "compose.starting": "Startet…",
  "compose.noRepo": "Ohne Repository starten",

  "compose.recent": "Zuletzt verwendet",
  "compose.yourRepos": "Deine Repositorys",

  "suggest.list": "Vorschläge: {{field}}",
  "suggest.count_one": "{{count}} Vorschlag",
  "suggest.count_other": "{{count}} Vorschläge",
  "suggest.more_one": "{{count}} weiterer. Tippe, um ihn zu finden.",
  "suggest.more_other": "{{count}} weitere. Tippe, um sie zu finden.",
  "repo.private": "privat",
  "repo.loading": "Deine Repositorys werden geladen…",
  "repo.none": "GitHub nennt kein Repository, auf das du Zugriff hast.",
  "repo.limit": "Das sind die {{count}} zuletzt geänderten Repositorys. Andere kannst du eingeben.",
  "repo.sso":
    "Repositorys von Organisationen mit Single Sign-on fehlen: Für sie muss dein Token bei GitHub freigegeben werden.",
  "branch.default": "Standard",
  "branch.loading": "Die Branches werden geladen…",
  "branch.limit": "Das sind die ersten {{count}} Branches. Andere kannst du eingeben.",
  "github.hint.own":
    "Um unter deinen Repositorys auf GitHub zu wählen, führe „gh auth login“ aus oder starte den Router mit GH_TOKEN.",
  "github.hint.signIn":
    "Deine Anmeldung gibt kein GitHub-Token weiter, daher werden deine Repositorys nicht aufgelistet.",
  "github.github_token_required":
    "Deine Anmeldung gibt kein GitHub-Token mehr weiter. Melde dich ab und wieder an, um unter deinen Repositorys zu wählen.",
  "github.github_token_refused":
    "GitHub nimmt dein Token nicht an; vielleicht ist es abgelaufen oder widerrufen. Melde dich ab und wieder an.",
  "github.github_sso_required":
    "Deine Organisation verlangt Single Sign-on. Gib dein Token bei GitHub frei und lade diese Seite neu.",
  "github.github_rate_limited": "Das Anfragelimit von GitHub ist erreicht. Versuche es {{in}} noch einmal.",
  "github.github_forbidden":
    "GitHub erlaubt deinem Token nicht, das zu lesen. Vielleicht fehlt ihm ein Recht.",
  "github.github_not_found": "Das Repository gibt es auf GitHub nicht, oder du hast keinen Zugriff darauf.",
  "github.github_unavailable":
    "GitHub antwortet nicht. Repositorys und Branches kannst du trotzdem eingeben.",
  "github.authorize": "Token freigeben",

  "invalid.repoEmpty": "Gib ein Repository an oder starte ohne Repository.",
  "invalid.repoForm":
    "Das ist keine Repository-Adresse. Gib https://host/besitzer/name oder besitzer/name ein.",
  "invalid.repoCredential": "Entferne Benutzernamen und Passwort aus der Adresse.",
  "invalid.repoKind": "Dieser Router nimmt solche Adressen nicht an. Gib eine https://-Adresse ein.",
  "invalid.branch":
    "Das ist kein gültiger Branch-Name. Nicht erlaubt sind Leerzeichen, „..“, die Zeichen ~ ^ : ? * [ \\ und „-“ am Anfang.",

  "list.title": "Deine Sitzungen",
  "list.empty": "Noch keine Sitzungen. Gib oben ein Repository ein und drücke die Eingabetaste.",
  "list.search": "Sitzungen durchsuchen",
  "list.noMatch": "Keine Sitzung passt zur Suche.",
  "list.loading": "Deine Sitzungen werden geladen…",

  "state.creating": "Startet",
  "state.running": "Läuft",
  "state.stopping": "Stoppt",
  "state.stopped": "Gestoppt",
  "state.failed": "Fehlgeschlagen",
  "state.changed": "{{name}}: {{state}}",

  "row.newProject": "Neues Projekt",
  "row.active": "aktiv {{ago}}",
  "row.stopsIn": "stoppt {{in}}",
  "row.busy": "Agent arbeitet",
  "row.waiting": "Agent wartet auf deine Antwort",
  "row.messages": "Nachrichten von {{name}}",
  "messages.title": "Nachrichten von {{name}}",
  "messages.empty": "Noch keine Nachrichten.",
  "messages.user": "Du",
  "messages.assistant": "Agent",
  "row.ports": "Entwicklungsserver von {{name}}",
  "row.port": "Port",
  "row.more": "Weitere Aktionen für {{name}}",

  "action.open": "Öffnen",
  "action.stop": "Stoppen",
  "action.resume": "Fortsetzen",
  "action.retry": "Erneut versuchen",
  "action.delete": "Löschen",
  "action.cancel": "Abbrechen",
  "action.close": "Schließen",
  "action.copy": "Kopieren",
  "action.copied": "Kopiert",
  "action.copyLink": "Link kopieren",
  "action.attach": "Terminal verbinden …",
  "action.logs": "Protokoll",

  "attach.title": "Terminal mit {{name}} verbinden",
  "attach.about":
    "Führe diese Sitzung in deinem eigenen Terminal mit „opencode attach“ fort. Ein Token ersetzt die Anmeldung: Wer es hat, kann diese Sitzung benutzen, bis es abläuft. Eine gestoppte Sitzung startet von selbst.",
  "attach.name": "Name des Tokens",
  "attach.namePlaceholder": "mein Laptop",
  "attach.validFor": "Gültig für",
  "attach.days_one": "{{count}} Tag",
  "attach.days_other": "{{count}} Tage",
  "attach.create": "Token erstellen",
  "attach.command": "Führe dies in deinem Terminal aus",
  "attach.once": "Das Token wird nur jetzt angezeigt. Kopiere es, bevor du diesen Dialog schließt.",
  "attach.copyCommand": "Befehl kopieren",
  "attach.copyPrompting": "Befehl ohne Token kopieren",
  "attach.copyToken": "Token kopieren",
  "attach.history":
    "Shells behalten Befehle in ihrem Verlauf, und andere Benutzer des Rechners sehen sie, solange sie laufen. Der Befehl ohne Token wartet, bis du das Token einfügst und Enter drückst.",
  "attach.tokens": "Gültige Tokens",
  "attach.unnamed": "Ohne Namen",
  "attach.expires": "läuft {{in}} ab",
  "attach.revoke": "Widerrufen",
  "attach.revokeAll": "Alle widerrufen",
  "attach.revoked": "Wer mit einem Token verbunden ist, wird getrennt, wenn du es widerrufst.",
  "attach.original":
    "Das Passwort des früheren Routers gilt noch. Sobald du ein Token erstellst, gilt es nicht mehr.",

  "stage.queued": "Eingereiht",
  "stage.scheduled": "Knoten gefunden",
  "stage.volume": "Datenträger angehängt",
  "stage.image": "Image geladen",
  "stage.cloning": "Repository",
  "stage.starting": "opencode",
  "stage.ready": "Bereit",
  "stage.activity.queued": "Wartet auf den Start…",
  "stage.activity.scheduled": "Sucht einen Knoten…",
  "stage.activity.volume": "Hängt den Datenträger an…",
  "stage.activity.image": "Lädt das Image…",
  "stage.activity.cloning": "Klont…",
  "stage.activity.starting": "Startet opencode…",
  "stage.activity.ready": "Öffnet das Repository…",
  "stage.done": "fertig",
  "stage.pending": "noch nicht begonnen",
  "stage.failed": "fehlgeschlagen",
  "stage.active": "läuft",
  "stage.ofBytes": "{{done}} von {{total}}",

  "starting.elapsed": "bisher {{seconds}}",
  "starting.slow":
    "Der erste Start dauert so lange wie das Klonen des Repositorys, spätere Starts nur wenige Sekunden. Du kannst die Seite verlassen; der Start läuft weiter.",
  "starting.opens": "Öffnet sich automatisch, sobald alles bereit ist.",

  "failed.title": "Die Sitzung ist fehlgeschlagen",
  "failed.log": "Letzte Zeilen des Protokolls",
  "failed.kept": "Die Dateien der Sitzung bleiben erhalten.",

  "stopped.title": "Gestoppt",
  "stopped.since": "Gestoppt am {{when}}.",
  "stopped.kept": "Dateien und Gespräche der Sitzung bleiben erhalten.",
  "stopping.title": "Stoppt…",
  "notStarted.limit_reached":
    "Die Sitzung wurde beim Öffnen nicht gestartet, weil eine Grenze erreicht ist: für gleichzeitig laufende Sitzungen oder für Starts pro Minute. Stoppe eine andere Sitzung oder warte eine Minute, dann drücke Fortsetzen.",
  "notStarted.disk_full":
    "Die Sitzung wurde beim Öffnen nicht gestartet, weil der Speicherplatz für Sitzungen voll ist.",
  "notStarted.unavailable":
    "Die Sitzung wurde beim Öffnen nicht gestartet, weil der Router gerade keine Sitzungen starten kann. Warte einen Moment, dann drücke Fortsetzen.",

  "reason.idle": "Es gab {{minutes}} min lang keine Aktivität.",
  "reason.requested": "Das Stoppen wurde angefordert.",
  "reason.router_stopped": "Der Router wurde beendet.",
  "reason.router_crashed": "Der Router wurde unerwartet beendet; seine Sitzungen wurden deshalb gestoppt.",
  "reason.not_answering": "opencode antwortet nicht, deshalb wird die Sitzung bei Inaktivität nicht gestoppt",
  "reason.never_started": "Die Sitzung wurde noch nicht gestartet.",
  "reason.repository_not_found": "Das Repository wurde nicht gefunden, oder du hast keinen Zugriff darauf.",
  "reason.authentication_failed":
    "Der Host des Repositorys hat die Zugangsdaten abgelehnt oder verlangt eine Anmeldung.",
  "reason.branch_not_found": "Den Ausgangs-Branch gibt es im Repository nicht.",
  "reason.network_unreachable": "Der Host des Repositorys war nicht erreichbar.",
  "reason.clone_failed": "Das Klonen des Repositorys ist fehlgeschlagen.",
  "reason.checkout_failed": "Der Branch konnte nicht ausgecheckt werden.",
  "reason.disk_full": "Der Speicherplatz für Sitzungen ist voll.",
  "reason.opencode_not_found": "Das Programm opencode fehlt oder lässt sich nicht ausführen.",
  "reason.opencode_crashed": "opencode ist wiederholt abgestürzt.",
  "reason.opencode_not_ready": "opencode hat nicht rechtzeitig geantwortet.",
  "reason.unschedulable": "Kein Knoten nimmt die Sitzung an. {{detail}}",
  "reason.image_pull_failed": "Das Image der Sitzung lässt sich nicht laden. {{detail}}",
  "reason.out_of_memory": "Der Arbeitsspeicher der Sitzung hat nicht gereicht.",
  "reason.evicted": "Der Knoten hat die Sitzung verdrängt. {{detail}}",
  "reason.node_lost": "Der Knoten der Sitzung ist weg oder wurde außer Betrieb genommen.",
  "reason.volume_lost": "Den Datenträger der Sitzung gibt es im Cluster nicht mehr.",
  "reason.volume_unavailable":
    "Der Datenträger der Sitzung lässt sich nicht anlegen oder anhängen. {{detail}}",
  "reason.backend_error": "Der Router konnte die Sitzung nicht ausführen. {{detail}}",
  "advice.repository_not_found":
    "Prüfe die Adresse; bei einem privaten Repository prüfe, ob du es klonen kannst.",
  "advice.authentication_failed": "Prüfe, ob du das Repository selbst klonen kannst, und versuche es erneut.",
  "advice.branch_not_found": "Lösche diese Sitzung und starte eine neue von einem vorhandenen Branch.",
  "advice.network_unreachable": "Prüfe Adresse und Netzwerk und versuche es erneut.",
  "advice.clone_failed":
    "Sieh dir die Meldung von git im Protokoll an, behebe die Ursache und versuche es erneut.",
  "advice.checkout_failed": "Sieh dir die Meldung von git im Protokoll an. Deine Dateien sind unverändert.",
  "advice.disk_full": "Lösche Sitzungen, die du nicht mehr brauchst, und versuche es erneut.",
  "advice.opencode_not_found": "Bitte die Administration des Routers, OPENCODE_BIN zu prüfen.",
  "advice.opencode_crashed": "Das Protokoll zeigt die Ursache. Behebe sie und versuche es erneut.",
  "advice.opencode_not_ready":
    "Versuche es erneut. Wenn es wieder passiert, zeigt das Protokoll vielleicht die Ursache.",
  "advice.unschedulable":
    "Die Sitzung startet von selbst, sobald ein Knoten Platz hat. Stoppe andere Sitzungen, oder bitte die Administration des Routers um einen weiteren Knoten.",
  "advice.image_pull_failed":
    "Bitte die Administration des Routers, OPENCODE_IMAGE und IMAGE_PULL_SECRET_NAME zu prüfen.",
  "advice.out_of_memory":
    "Lass die Sitzung weniger auf einmal tun, oder bitte die Administration des Routers um ein höheres Limit (SESSION_LIMITS); versuche es dann erneut.",
  "advice.evicted": "Versuche es erneut: Ein anderer Knoten hat vielleicht Platz.",
  "advice.node_lost":
    "Die Sitzung kann auf einem anderen Knoten starten, sobald der Cluster den alten freigegeben hat: nach Minuten, wenn der Knoten antwortet, sonst sobald er zurück ist oder entfernt wurde.",
  "advice.volume_lost":
    "Bitte die Administration des Routers, den Datenträger aus einer Sicherung wiederherzustellen, oder lösche die Sitzung.",
  "advice.volume_unavailable":
    "Die Sitzung startet von selbst, sobald der Datenträger da ist. Wenn es so bleibt, bitte die Administration des Routers, STORAGE_CLASS und den Speicher des Clusters zu prüfen.",
  "advice.backend_error": "Versuche es gleich noch einmal.",

  "delete.title": "Diese Sitzung löschen?",
  "delete.warning": "Die Dateien und Gespräche der Sitzung werden endgültig gelöscht.",
  "delete.uncommitted_one": "{{count}} Datei hat nicht committete Änderungen.",
  "delete.uncommitted_other": "{{count}} Dateien haben nicht committete Änderungen.",
  "delete.unpushed_one": "{{count}} Commit ist nicht gepusht.",
  "delete.unpushed_other": "{{count}} Commits sind nicht gepusht.",
  "delete.clean": "Alle Änderungen sind committet und gepusht.",
  "delete.unknown": "Es ist nicht bekannt, ob die Sitzung ungesicherte Arbeit enthält.",
  "delete.checking": "Prüft, ob es ungesicherte Arbeit gibt…",

  "logs.title": "Protokoll von {{name}}",
  "logs.empty": "Das Protokoll ist leer.",

  "admin.title": "Administration",
  "admin.note":
    "Die Sitzungen aller Benutzer. Du kannst sie stoppen, löschen und ihr Protokoll lesen; was in einer Sitzung ist, sieht nur, wem sie gehört. Jede dieser Handlungen wird festgehalten.",
  "admin.count_one": "{{count}} Sitzung",
  "admin.count_other": "{{count}} Sitzungen",
  "admin.search": "Suche nach Besitzer, Repository, Knoten…",
  "admin.empty": "Es gibt keine Sitzungen.",
  "admin.owner": "Besitzer",
  "admin.session": "Sitzung",
  "admin.state": "Zustand",
  "admin.node": "Knoten",
  "admin.cpu": "Prozessor",
  "admin.memory": "Arbeitsspeicher",
  "admin.active": "Zuletzt benutzt",
  "admin.created": "Angelegt",
  "admin.actions": "Aktionen",
  "admin.stopTitle": "Diese Sitzung stoppen?",
  "admin.stopText":
    "{{name}} von {{email}}: Eine laufende Arbeit des Agenten wird unterbrochen. Die Dateien bleiben erhalten, und die Sitzung kann fortgesetzt werden.",
  "admin.stopped": "Gestoppt: {{name}}",
  "admin.deleteText":
    "{{name}} von {{email}}: Dateien und Gespräche werden endgültig gelöscht, auch nicht gepushte Arbeit.",
  "admin.deleted": "Gelöscht: {{name}}",

  "keys.title": "Tastenkürzel",
  "keys.compose": "Zum Repository-Feld",
  "keys.move": "Durch die Sitzungen bewegen",
  "keys.unfold": "Nachrichten der Sitzung zeigen oder verbergen",
  "keys.open": "Sitzung öffnen",
  "keys.help": "Diese Tastenkürzel anzeigen",

  "bar.offline": "Du bist offline. Diese Seite ist möglicherweise nicht aktuell.",
  "bar.unreachable": "Der Router antwortet nicht; vielleicht startet er neu. Neuer Versuch…",
  "bar.signedOut": "Du bist abgemeldet.",
  "bar.signIn": "Anmelden",

  "missing.title": "Unter dieser Adresse gibt es nichts.",
  "missing.session": "Diese Sitzung gibt es nicht, oder sie gehört dir nicht.",
  "missing.home": "Zu deinen Sitzungen",

  "error.network": "Der Router war nicht erreichbar. Versuche es erneut.",
  "error.unknown": "Etwas ist schiefgegangen: {{message}}",
};
