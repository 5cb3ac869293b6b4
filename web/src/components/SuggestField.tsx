// A text field that offers what could be meant. Any other text can be typed as well.

import { Combobox } from "@kobalte/core/combobox";
import Lock from "lucide-solid/icons/lock";
import { createEffect, createMemo, createSignal, type JSX, onMount, Show, untrack } from "solid-js";
import { useI18n } from "../i18n";
import { type Group, type Option, shown } from "../lib/github";
import controls from "../styles/controls.module.css";
import css from "./SuggestField.module.css";

/** A text field with suggestions. It takes over focus and selection of the plain field that it replaces. */
export function SuggestField(props: {
  id: string;
  name: string;
  /** What the field is, for the name of the list. */
  label: string;
  placeholder: string;
  value: string;
  groups: Group[];
  /** Shown below the suggestions, or in their place. */
  note?: string | undefined;
  loading?: boolean | undefined;
  invalid?: boolean | undefined;
  describedBy?: string | undefined;
  /** The selection of the plain field that this one replaces, if that had the focus. */
  focusAt?: [number, number] | undefined;
  ref?: (field: HTMLInputElement) => void;
  onText: (text: string) => void;
  /** The user looks for a suggestion. */
  onSearch: () => void;
  onBlur?: () => void;
}) {
  const i18n = useI18n();
  const [open, setOpen] = createSignal(false);
  // A chosen text is no search: with it, all suggestions are offered.
  const [search, setSearch] = createSignal("");
  const offered = createMemo(() => shown(props.groups, search()));
  const note = () =>
    props.note ?? (offered().more > 0 ? i18n.plural("suggest.more", offered().more) : undefined);
  // Read before the plain field leaves the page.
  const focusAt = untrack(() => props.focusAt);
  let field: HTMLInputElement | undefined;

  onMount(() => {
    if (!focusAt) return;
    field?.focus();
    field?.setSelectionRange(...focusAt);
  });

  // What was loaded may be nothing.
  createEffect(() => {
    if (!props.loading && offered().groups.length === 0) setOpen(false);
  });

  const show = (next: boolean) => {
    if (next) props.onSearch();
    setOpen(next);
  };
  const choose = (option: Option | null) => {
    if (!option) return;
    setSearch("");
    props.onText(option.value);
  };
  const onKeyDown = (event: KeyboardEvent & { currentTarget: HTMLInputElement }) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") props.onSearch();
    // Without a highlighted suggestion, the typed text counts, and Enter submits the form.
    if (event.key === "Enter" && !event.currentTarget.getAttribute("aria-activedescendant")) setOpen(false);
  };

  return (
    <Combobox<Option, Group>
      class={css.root ?? ""}
      options={offered().groups}
      optionValue="value"
      optionTextValue="label"
      optionLabel="value"
      optionGroupChildren="options"
      defaultFilter={() => true}
      value={null as unknown as Option}
      onChange={choose}
      onInputChange={(text) => {
        setSearch(text);
        props.onSearch();
        if (text !== props.value) props.onText(text);
      }}
      open={open()}
      onOpenChange={show}
      allowsEmptyCollection={props.loading === true}
      noResetInputOnBlur
      placement="bottom-start"
      gutter={4}
      fitViewport
      overflowPadding={12}
      translations={{
        focusAnnouncement: (text) => text,
        countAnnouncement: (count) => i18n.plural("suggest.count", count) as "one option available",
        selectedAnnouncement: (text) => text,
        triggerLabel: i18n.t("suggest.list", { field: props.label }),
        listboxLabel: i18n.t("suggest.list", { field: props.label }),
      }}
      itemComponent={(item) => (
        // The field names the highlighted item by its id, also after the list was loaded again.
        <SuggestedItem item={item.item} id={`${props.id}-${encodeURIComponent(item.item.key)}`} />
      )}
      sectionComponent={(section) => (
        <Show when={section.section.rawValue.title}>
          {(title) => <Combobox.Section class={css.section}>{title()}</Combobox.Section>}
        </Show>
      )}
    >
      <Combobox.Control>
        <Combobox.Input
          ref={(element: HTMLInputElement) => {
            field = element;
            props.ref?.(element);
          }}
          id={props.id}
          name={props.name}
          class={controls.field}
          placeholder={props.placeholder}
          autocapitalize="off"
          value={props.value}
          aria-invalid={props.invalid ? "true" : undefined}
          aria-describedby={props.describedBy}
          onKeyDown={onKeyDown as JSX.EventHandler<HTMLInputElement, KeyboardEvent>}
          onClick={() => {
            if (open()) return;
            setSearch("");
            show(true);
          }}
          onBlur={() => props.onBlur?.()}
        />
      </Combobox.Control>
      {/* Inside the page's landmark. */}
      <Combobox.Portal mount={document.querySelector("main") ?? document.body}>
        <Combobox.Content
          class={css.content}
          // The focus is always in the field.
          onCloseAutoFocus={(event) => event.preventDefault()}
          onMouseDown={(event) => event.preventDefault()}
        >
          <Combobox.Listbox class={css.list} />
          <Show when={note()}>
            {(text) => (
              <p class={css.note} role="status">
                <Show when={props.loading}>
                  <span class={controls.spinner} aria-hidden="true" />
                </Show>
                {text()}
              </p>
            )}
          </Show>
        </Combobox.Content>
      </Combobox.Portal>
    </Combobox>
  );
}

function SuggestedItem(props: { item: Parameters<typeof Combobox.Item>[0]["item"]; id: string }) {
  const i18n = useI18n();
  const option = (): Option => props.item.rawValue;
  return (
    <Combobox.Item item={props.item} id={props.id} class={css.item}>
      <span class={css.label} data-branch={option().default === undefined ? undefined : ""}>
        {option().label}
      </span>
      <Show when={option().private}>
        <Lock class={css.lock} size={12} aria-hidden="true" />
        <span class="visually-hidden">{i18n.t("repo.private")}</span>
      </Show>
      <Show when={option().default}>
        <span class={css.mark}>{i18n.t("branch.default")}</span>
      </Show>
      <Show when={option().detail}>{(detail) => <span class={css.detail}>{detail()}</span>}</Show>
    </Combobox.Item>
  );
}
